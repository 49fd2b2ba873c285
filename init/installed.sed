# Fits conf/agent.yaml, which runs in a checkout, to a host: `sed -f init/installed.sed conf/agent.yaml`.
# Relative paths are relative to /etc/hsm-agent there. No token is watched: a checkout makes one, a host has its own.
s#^\# hsm-agent: every option.*#\# hsm-agent: every option, its default, one sentence each. Add your sources and sinks, then:#
s#^\# Strict: an unknown#\#   runuser -u hsm-agent -- hsm-agent check-config \&\& systemctl restart hsm-agent\n&#
s#^\# Relative paths are.*#\# Relative paths are relative to this file's folder.#
s#^  state_directory: var    *#  state_directory: /var/lib/hsm-agent   #
s#^  control_socket: null    *#  control_socket: /run/hsm-agent/control   #
s#conf/secrets/#secrets/#g
s#\./var/softhsm/softhsm2.conf#/etc/softhsm/softhsm2.conf#
s#: var/softhsm/tokens#: /var/lib/softhsm/tokens#
s#^sources:$#sources: []                       \# in place of the brackets: a list as the samples below#
/^  - name: softhsm /,/^  # - name: /{
/^  # /!s/^  /  # /
}
