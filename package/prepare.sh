# Folders of the account, and random pass-phrases for the SNMPv3 user of the sample configuration. What is there already
# stays as the operator has it: nothing is written into a folder that another user owns by now.
made_by=$(umask)
umask 077
[ -d /var/lib/hsm-agent ] || install -d -m 0700 -o hsm-agent -g hsm-agent /var/lib/hsm-agent
# An empty folder is systemd-tmpfiles', which may run before this does.
rmdir /etc/hsm-agent/secrets 2>/dev/null || :
if [ ! -e /etc/hsm-agent/secrets ] && [ ! -L /etc/hsm-agent/secrets ]; then
    # All or nothing: a half that an interruption left would be kept as if it were the operator's.
    rm -rf /etc/hsm-agent/secrets.new
    install -d -m 0700 /etc/hsm-agent/secrets.new
    for name in nms.auth nms.priv; do
        od -An -N 16 -tx1 /dev/urandom | tr -d ' \n' >"/etc/hsm-agent/secrets.new/$name"
        [ -s "/etc/hsm-agent/secrets.new/$name" ] || exit 1
        chmod 0400 "/etc/hsm-agent/secrets.new/$name"
        chown hsm-agent:hsm-agent "/etc/hsm-agent/secrets.new/$name"
    done
    chown hsm-agent:hsm-agent /etc/hsm-agent/secrets.new
    chmod 0500 /etc/hsm-agent/secrets.new
    mv -T /etc/hsm-agent/secrets.new /etc/hsm-agent/secrets
fi
umask "$made_by"
