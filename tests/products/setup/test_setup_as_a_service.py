"""`hsm-agent setup` as root where it belongs, /etc/hsm-agent, for the account of the service.

In a mount namespace of its own: the machine has neither the account nor the folders afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.peers import private_mounts
from tests.peers.require import ROOT, require
from tests.peers.rsyslog import Rsyslog
from tests.peers.softhsm import SoftHsm

UID = 64001
SCRIPT = f"""
set -e
mount -t tmpfs tmpfs /mnt
for place in etc var/lib; do
    name=$(echo $place | tr / -)
    mkdir /mnt/$name /mnt/$name.work
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=/mnt/$name,workdir=/mnt/$name.work" /$place
done
mount -t tmpfs -o mode=755 tmpfs /run
echo 'hsm-agent:x:{UID}:{UID}::/var/lib/hsm-agent:/usr/sbin/nologin' >>/etc/passwd
echo 'hsm-agent:x:{UID}:' >>/etc/group
mkdir -m 750 /etc/hsm-agent && chgrp hsm-agent /etc/hsm-agent
chown -R hsm-agent "$1"
shift
python=$1
shift
"$python" -m hsm_agent setup --yes --snmp-reader nms "$@"
cd /etc/hsm-agent
find . /var/lib/hsm-agent -printf '%p %u %g %m\\n' | sort
# The service as its unit would start it, and root asking it.
install -d -m 750 -o hsm-agent -g hsm-agent /run/hsm-agent
setpriv --reuid=hsm-agent --regid=hsm-agent --clear-groups "$python" -m hsm_agent run --config /etc/hsm-agent/agent.yaml 2>/run/log &
agent=$!
n=0
until [ -S /run/hsm-agent/control ] || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done
"$python" -m hsm_agent setup --yes --force "$@"
"$python" -m hsm_agent status --format json | tr -d '\\n'
kill $agent
wait $agent
"""


async def test_a_host_is_set_up_for_its_service() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        hsm = SoftHsm(folder / "hsm")
        hsm.create_token("payments")
        rsyslog = Rsyslog(program=require("rsyslogd"), folder=folder)
        words = ["--syslog-sink", f"relp:127.0.0.1:{rsyslog.ports['relp']}", "--http-listen", "127.0.0.1:0"]
        words += ["--snmp-listen", "udp:127.0.0.1:0"]
        command = private_mounts.command("sh", "-c", SCRIPT, "sh", str(folder / "hsm"), sys.executable, *words)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HSM_AGENT", "TMPDIR"))}
        async with rsyslog:
            process = await asyncio.create_subprocess_exec(
                *command, env={**kept, **hsm.environment, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            out, errors = await asyncio.wait_for(process.communicate(), 55)

    assert (process.returncode, errors.decode()) == (0, "")
    shown = out.decode().splitlines()
    assert "looked at as user hsm-agent" in shown[0]
    assert {"./agent.yaml root hsm-agent 640", "./secrets hsm-agent hsm-agent 500"} <= set(shown)
    assert {"./secrets/nms.auth hsm-agent hsm-agent 400", "/var/lib/hsm-agent hsm-agent hsm-agent 700"} <= set(shown)
    assert sum("acknowledged it" in line for line in shown) == 2
    status = json.loads(shown[-1])
    assert "softhsm" in {source["name"] for source in status["sources"]}
    assert [sink["status"] for sink in status["sinks"]] == ["up"]
