# Folders of the account, and random pass-phrases for the SNMPv3 user of the sample configuration. What is there already
# stays as the operator has it: nothing is written into a folder that another user owns by now.
made_by=$(umask)
umask 077
[ -d /var/lib/hsm-agent ] || install -d -m 0700 -o hsm-agent -g hsm-agent /var/lib/hsm-agent
if [ ! -d /etc/hsm-agent/secrets ]; then
    install -d -m 0700 /etc/hsm-agent/secrets
    for name in nms.auth nms.priv; do
        od -An -N 16 -tx1 /dev/urandom | tr -d ' \n' >"/etc/hsm-agent/secrets/$name"
        chmod 0400 "/etc/hsm-agent/secrets/$name"
        chown hsm-agent:hsm-agent "/etc/hsm-agent/secrets/$name"
    done
    chown hsm-agent:hsm-agent /etc/hsm-agent/secrets
    chmod 0500 /etc/hsm-agent/secrets
fi
umask "$made_by"
