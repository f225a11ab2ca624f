#!/bin/sh
# Installs the Debian packages that the tests (and, with BENCH=1, the benchmarks) start private instances of.
# As root it installs; otherwise it says what is missing and how to get it.
set -eu
need=""
want() { command -v "$1" >/dev/null 2>&1 || need="$need $2"; }
want ss iproute2
want openssl openssl
want etcd etcd-server
want rabbitmq-server rabbitmq-server
want dockerd docker.io
want podman podman
want runc runc
want busybox busybox-static
want haproxy haproxy
want nginx nginx-light
want sshd openssh-server
want redis-server redis-server
[ -x /usr/share/zookeeper/bin/zkServer.sh ] || need="$need zookeeper"
[ -x /usr/sbin/mariadbd ] || need="$need mariadb-server"
[ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ] || need="$need postgresql"
if [ "${BENCH:-}" = 1 ]; then
  want wrk wrk
  want pt-online-schema-change percona-toolkit
  [ -e /usr/lib/uwsgi/plugins/python3_plugin.so ] || need="$need uwsgi-core uwsgi-plugin-python3"
fi
[ -n "$need" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "missing system packages; install them with: sudo apt-get install$need" >&2
  exit 1
fi
# A policy that refuses keeps packages from starting their own instances; ours are private.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >/dev/null
