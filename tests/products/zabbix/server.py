"""A whole Zabbix server: PostgreSQL, the server, its API in PHP, and snmptrapd writing the log that it reads.

Debian's packages, unpacked by `scripts/setup zabbix`; child processes on free ports of loopback, below one directory, as
nobody where we are root: PostgreSQL refuses that.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tests.peers.another_user import NOBODY, as_nobody
from tests.peers.ports import free_port, listening
from tests.peers.require import PEERS, environment_for, find, prefix_of, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PREFIX = PEERS / "zabbix"
FRONTEND = PEERS / "zabbix-frontend" / "usr" / "share" / "zabbix"
POSTGRES = PREFIX / "usr" / "lib" / "postgresql" / "15" / "bin"
_SECONDS = 60.0
_STOP_SECONDS = 10.0
_FRONTEND_PARTS = ("api_jsonrpc.php", "include", "vendor", "modules", "local", "app", "locale", "conf")
_PHP_EXTENSIONS = (
    *("bcmath", "ctype", "dom", "gd", "gettext", "iconv", "mbstring", "pgsql", "posix", "simplexml", "sockets"),
    *("tokenizer", "xml", "xmlreader", "xmlwriter"),
)

_RECEIVER = r"""
use POSIX qw(strftime);
sub receive {
    my ($pdu, $varbinds) = @_;
    my ($from) = $pdu->{receivedfrom} =~ /\[(.*?)\]/;
    open(my $log, '>>', '@LOG@') or return NETSNMPTRAPD_HANDLER_FAIL;
    my $text = strftime('%H:%M:%S %Y/%m/%d', localtime) . " ZBXTRAP $from\nPDU INFO:\n";
    for my $name (sort keys %$pdu) {
        my $value = $pdu->{$name};
        $value = '0x' . unpack('H*', $value) unless $value =~ /^[[:print:]]*$/;
        $text .= sprintf("  %-30s %s\n", $name, $value);
    }
    $text .= "VARBINDS:\n";
    $text .= sprintf("  %-30s type=%-2d value=%s\n", $_->[0], $_->[2], $_->[1]) for @$varbinds;
    syswrite($log, $text);
    close($log);
    return NETSNMPTRAPD_HANDLER_OK;
}
NetSNMP::TrapReceiver::register('all', \&receive) or die 'no handler';
"""
"""Writes what the receiver that Zabbix documents for snmptrapd writes."""

_CONFIGURATION = """<?php
$DB['TYPE'] = 'POSTGRESQL';
$DB['SERVER'] = '127.0.0.1';
$DB['PORT'] = '@PORT@';
$DB['DATABASE'] = 'zabbix';
$DB['USER'] = 'zabbix';
$DB['PASSWORD'] = '';
$DB['SCHEMA'] = '';
$DB['ENCRYPTION'] = false;
$DB['VAULT_URL'] = '';
$DB['DOUBLE_IEEE754'] = true;
$ZBX_SERVER = '127.0.0.1';
$ZBX_SERVER_PORT = '@SERVER@';
$IMAGE_FORMAT_DEFAULT = IMAGE_FORMAT_PNG;
"""


def _low_port() -> int:
    """A free port that Zabbix takes for its server: below 32768, where nobody is given one by chance."""
    while listening(port := random.randint(10_000, 32_767)):
        continue
    return port


class ApiError(Exception):
    """Zabbix refused what it was asked, or we misread it."""


class Zabbix:
    """The running server: its API, and where traps go to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trap_port = free_port(socket.SOCK_DGRAM)
        self.trap_log = directory / "traps.log"
        self._database = free_port()
        self._server = _low_port()
        self._web = free_port()
        self._session: str | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    def api(self, method: str, parameters: Any) -> Any:
        """One call. Raises ApiError with what Zabbix says."""
        body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}
        if self._session is not None:
            body["auth"] = self._session
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._web}/api_jsonrpc.php",
            json.dumps(body).encode(),
            {"Content-Type": "application/json-rpc"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            text = answer.read().decode()
        try:
            said = json.loads(text)
        except ValueError as error:
            raise ApiError(f"{method}: {text[:2000]}") from error
        if "error" in said:
            raise ApiError(f"{method}: {said['error']}")
        return said["result"]

    def log(self) -> str:
        """What the server says of itself."""
        return (self.directory / "server.log").read_text(encoding="utf-8", errors="replace")

    def doing(self) -> str:
        """What each of its processes does: Zabbix writes that into their titles."""
        listed = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True, check=False).stdout
        groups = {str(child.pid) for child in self._children}
        lines = [line.split(None, 1) for line in listed.splitlines()]
        return "\n".join(title[:200] for group, title in lines if group in groups)

    def start(self, trap_lines: Sequence[str], *, mibs: Mapping[str, str] | None = None) -> None:
        """All of it. `trap_lines` are snmptrapd's, such as users; `mibs` its environment."""
        if os.geteuid() == 0:
            os.chown(self.directory, NOBODY, NOBODY)
        self._start_database()
        self._start_server()
        self._start_frontend()
        self._start_receiver(trap_lines, mibs or {"MIBS": ""})
        self._session = self.api("user.login", {"user": "Admin", "password": "zabbix"})

    def stop(self) -> None:
        """End all children, the database last."""
        for child in reversed(self._children):
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)  # PostgreSQL ends then without waiting for its clients
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            with suppress(ProcessLookupError):  # what it has left of its own children
                os.killpg(child.pid, signal.SIGKILL)

    def _spawn(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                self._as_other(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env=self._environment() | dict(environment or {}), start_new_session=True,
            )  # fmt: skip
        self._children.append(child)

    @staticmethod
    def _as_other(*command: str) -> list[str]:
        return as_nobody(*command) if os.geteuid() == 0 else list(command)

    def _environment(self) -> dict[str, str]:
        libraries = environment_for(PREFIX / "usr" / "sbin" / "zabbix_server")
        return {**os.environ, **libraries, "LC_ALL": "C.UTF-8", "HOME": str(self.directory)}

    def _start_database(self) -> None:
        data = self.directory / "database"
        self._do(str(POSTGRES / "initdb"), "-D", str(data), "-U", "zabbix", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", f"unix_socket_directories={self.directory}")
        port, listen = str(self._database), "listen_addresses=127.0.0.1"
        self._spawn("postgres", str(POSTGRES / "postgres"), "-D", str(data), "-p", port, "-c", listen, *options)
        self._until_listening(self._database)
        psql = (str(require("psql")), "-q", "-h", "127.0.0.1", "-p", port, "-U", "zabbix", "-v", "ON_ERROR_STOP=1")
        self._do(*psql, "-d", "postgres", "-c", "CREATE DATABASE zabbix")
        for name in ("schema", "images", "data"):
            text = gzip.decompress((PREFIX / f"usr/share/zabbix-server-pgsql/{name}.sql.gz").read_bytes())
            self._do(*psql, "-d", "zabbix", given=text)
        # Without statistics, which come with time, PostgreSQL plans to link a template for minutes.
        self._do(*psql, "-d", "zabbix", "-c", "ANALYZE")

    def _do(self, *command: str, given: bytes | None = None) -> None:
        done = subprocess.run(
            self._as_other(*command), input=given, capture_output=True, timeout=_SECONDS, check=False,
            env=self._environment(), cwd=self.directory,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")

    def _start_server(self) -> None:
        file = self.directory / "zabbix_server.conf"
        settings = {
            "ListenIP": "127.0.0.1", "ListenPort": self._server, "LogFile": self.directory / "server.log",
            "LogFileSize": 0, "PidFile": self.directory / "server.pid", "SocketDir": self.directory,
            "DBHost": "127.0.0.1", "DBName": "zabbix", "DBUser": "zabbix", "DBPort": self._database,
            "StartSNMPTrapper": 1, "SNMPTrapperFile": self.trap_log, "Timeout": 3, "FpingLocation": "/bin/false",
            "CacheUpdateFrequency": 1, "StartPollers": 5, "StartPreprocessors": 2, "StartDBSyncers": 2,
            "StartPingers": 0, "StartDiscoverers": 0, "StartHTTPPollers": 0, "StartTrappers": 1,
        }  # fmt: skip
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        self.trap_log.touch(mode=0o644)
        if os.geteuid() == 0:
            os.chown(self.trap_log, NOBODY, NOBODY)
        program = str(PREFIX / "usr" / "sbin" / "zabbix_server")
        self._spawn("zabbix", program, "-f", "-c", str(file), environment={"MIBS": ""})
        self._until_listening(self._server)

    def _start_frontend(self) -> None:
        """The API needs only a part of the frontend; its configuration stands at a fixed place, which is changed."""
        copy = self.directory / "frontend"
        for part in _FRONTEND_PARTS:
            if (FRONTEND / part).is_dir():
                shutil.copytree(FRONTEND / part, copy / part, ignore_dangling_symlinks=True)
            else:
                copy.mkdir(exist_ok=True)
                shutil.copy2(FRONTEND / part, copy / part)
        settings = self.directory / "zabbix.conf.php"
        text = _CONFIGURATION.replace("@PORT@", str(self._database)).replace("@SERVER@", str(self._server))
        settings.write_text(text, encoding="utf-8")
        place = copy / "include" / "classes" / "core" / "CConfigFile.php"
        place.write_text(place.read_text().replace("/etc/zabbix/zabbix.conf.php", str(settings)))
        (modules,) = PREFIX.glob("usr/lib/php/2*")
        options = [f"extension_dir={modules}", *(f"extension={name}" for name in _PHP_EXTENSIONS)]
        options += ["memory_limit=512M", "max_execution_time=300", "post_max_size=32M", "date.timezone=UTC"]
        options += ["display_errors=0", "log_errors=1", "error_reporting=5"]  # errors, not what a newer PHP deprecates
        words = [word for option in options for word in ("-d", option)]
        php = str(PREFIX / "usr" / "bin" / "php8.2")
        self._spawn("php", php, "-n", *words, "-S", f"127.0.0.1:{self._web}", "-t", str(copy))
        self._until_listening(self._web)

    def _start_receiver(self, lines: Sequence[str], mibs: Mapping[str, str]) -> None:
        script = self.directory / "receiver.pl"
        script.write_text(_RECEIVER.replace("@LOG@", str(self.trap_log)), encoding="utf-8")
        file = self.directory / "snmptrapd.conf"
        program = require("snmptrapd")
        first = prefix_of(program) / "usr" / "share" / "snmp" / "snmp_perl_trapd.pl"
        lines = (f"perlInitFile {first}", *lines, f'perl do "{script}"')
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        libraries = [environment_for(one).get("LD_LIBRARY_PATH", "") for one in (program, PREFIX / "usr/sbin/x")]
        (self.directory / "persistent").mkdir()
        if os.geteuid() == 0:
            os.chown(self.directory / "persistent", NOBODY, NOBODY)
        modules = ":".join(str(one) for one in PREFIX.glob("usr/lib/*/perl5/5.*"))
        environment = {
            "LD_LIBRARY_PATH": ":".join(filter(None, libraries)), "PERL5LIB": modules,
            "SNMPCONFPATH": str(self.directory), "SNMP_PERSISTENT_DIR": str(self.directory / "persistent"), **mibs,
        }  # fmt: skip
        address = f"udp:127.0.0.1:{self.trap_port}"
        self._spawn(
            "snmptrapd", str(program), "-f", "-n", "-C", "-c", str(file), "-Lo", address, environment=environment
        )
        self._until_listening(self.trap_port, "udp")

    def _until_listening(self, port: int, protocol: str = "tcp") -> None:
        child = self._children[-1]
        until = time.monotonic() + _SECONDS
        while not listening(port, protocol):
            if child.poll() is not None or time.monotonic() > until:
                logs = "\n".join(one.read_text(errors="replace")[-1500:] for one in self.directory.glob("*.log"))
                raise RuntimeError(f"nobody listens on {port}:\n{logs}")
            time.sleep(0.05)


@contextmanager
def running(directory: Path, trap_lines: Sequence[str], *, mibs: Mapping[str, str] | None = None) -> Iterator[Zabbix]:
    """A Zabbix server until the end of the block."""
    if find("zabbix_server") is None or not FRONTEND.exists():
        raise RuntimeError("Zabbix is missing: run scripts/setup zabbix")
    zabbix = Zabbix(directory)
    with ExitStack() as stack:
        stack.callback(zabbix.stop)
        zabbix.start(trap_lines, mibs=mibs)
        yield zabbix
