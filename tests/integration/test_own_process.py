"""What shows only in a process of its own: standard error, loaded modules, what a library prints."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import trustme

from hsm_agent.net.certificates import parse

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_ERRORS = """
import sys
from hsm_agent import log
with open(sys.argv[1], "wb") as first:
    log.set_up("info", "text")
    log.log.warning("into no other file")
    log.flush()
"""


def test_without_standard_error_the_log_goes_into_no_other_file(tmp_path: Path) -> None:
    closing = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", WITHOUT_ERRORS, str(tmp_path / "first")]

    subprocess.run(closing, check=True, timeout=30)

    assert (tmp_path / "first").read_bytes() == b""


def test_a_serial_number_that_is_none_is_shown_without_a_word(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("hsm.example.net", common_name="hsm.example.net")
    pem = leaf.cert_chain_pems[0].bytes()
    (found,) = parse(pem).certificates
    serial = bytes.fromhex(found.serial.zfill(len(found.serial) + len(found.serial) % 2))
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    odd = tmp_path / "odd.der"
    odd.write_bytes(der.replace(serial, bytes([serial[0] | 0x80]) + serial[1:], 1))
    code = "import pathlib, sys; from hsm_agent.net.certificates import parse; print(parse(pathlib.Path(sys.argv[1]).read_bytes()))"
    done = subprocess.run([sys.executable, "-c", code, odd], capture_output=True, text=True, check=True, timeout=30)

    assert "serial='-" in done.stdout
    assert done.stderr == ""


def test_who_has_no_patterns_does_not_load_the_engine() -> None:
    code = "import sys, hsm_agent.agent.service, hsm_agent.config.tree; print('re2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
