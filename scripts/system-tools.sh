#!/bin/sh
# Finds the system tools that `npm start` (demo) or `npm test` (test) runs, and installs what is missing when it is
# root on Debian or Ubuntu, without starting or changing any service of the host. Silent when nothing is missing.
#
#   sh scripts/system-tools.sh demo|test [ROOT]
#
# ROOT stands before the paths of the host that are read or written; for tests.
set -u

# package:command, or package:file where a package brings no command.
demo_tools='nftables:nft iproute2:ip curl:curl redis-server:redis-server'
test_tools="$demo_tools nginx:nginx netcat-openbsd:nc tcpdump:tcpdump iperf3:iperf3 wrk:wrk openssl:openssl
nghttp2-client:h2load nghttp2-proxy:nghttpx haproxy:haproxy util-linux:unshare
libnginx-mod-stream:/usr/lib/nginx/modules/ngx_stream_module.so"

say() { printf '%s\n' "$*" >&2; }

# Packages of which the tool is not there. A tool outside of PATH counts when its package is installed: /usr/sbin is
# not in every user's PATH.
missing() {
  for tool in $tools; do
    case ${tool#*:} in
      /*) [ -e "$root${tool#*:}" ] && continue ;;
      *) command -v "${tool#*:}" >/dev/null 2>&1 && continue ;;
    esac
    case $(dpkg-query -W -f '${db:Status-Status}' "${tool%%:*}" 2>/dev/null) in
      installed) ;;
      *) printf ' %s' "${tool%%:*}" ;;
    esac
  done
}

units() {
  for unit in "$root"/lib/systemd/system/*.service "$root"/lib/systemd/system/*.socket "$root"/lib/systemd/system/*.timer; do
    [ -e "$unit" ] && printf '%s\n' "${unit##*/}"
  done
}

# dpkg's scripts ask policy-rc.d before they start or restart a service; 101 forbids it. A policy of the host that
# forbids it anyway is left alone, any other one is set aside and put back.
forbid_starts() {
  restore_policy
  if [ -x "$policy" ]; then
    "$policy" ambit-probe start >/dev/null 2>&1
    [ $? -eq 101 ] && return 0
  fi
  if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$policy.ambit-saved" || return 1; fi
  printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" >"$policy" && chmod 755 "$policy"
}

# Also mends what a killed run left behind.
restore_policy() {
  if [ -f "$policy" ] && grep -qF "$mark" "$policy" 2>/dev/null; then rm -f "$policy"; fi
  if [ -e "$policy.ambit-saved" ] || [ -L "$policy.ambit-saved" ]; then mv "$policy.ambit-saved" "$policy"; fi
}

apt_install() {
  # needrestart, where it is set up, would restart services of the host.
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install -y -q --no-install-recommends --no-upgrade \
    -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold "$@" </dev/null >"$log" 2>&1
}

disable_new_units() {
  units | while read -r unit; do
    case "$units_before" in *" $unit "*) continue ;; esac
    if command -v systemctl >/dev/null 2>&1; then
      systemctl disable "$unit" >/dev/null 2>&1
    elif command -v deb-systemd-helper >/dev/null 2>&1; then
      deb-systemd-helper disable "$unit" >/dev/null 2>&1
    fi
  done
}

install_missing() {
  log=$(mktemp) || return 1
  mark='Placed by ambit scripts/system-tools.sh while it installs packages.'
  policy=$root/usr/sbin/policy-rc.d
  if command -v flock >/dev/null 2>&1; then
    exec 9>"$root/run/ambit-system-tools.lock" && flock 9
    absent=$(missing)
  fi
  [ -z "$absent" ] && { rm -f "$log"; return 0; }
  say "installing with apt-get:$absent"
  units_before=" $(units | tr '\n' ' ')"
  trap 'restore_policy; rm -f "$log"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  forbid_starts || { say "cannot write $policy, which keeps new services from starting"; return 1; }
  # shellcheck disable=SC2086 # one word a package
  apt_install $absent || { apt-get update -q </dev/null >>"$log" 2>&1 && apt_install $absent; } || cat "$log" >&2
  disable_new_units
  absent=$(missing)
  [ -z "$absent" ]
}

root=${2-}
case ${1-} in
  demo) tools=$demo_tools ;;
  test) tools=$test_tools ;;
  *) say 'usage: system-tools.sh demo|test'; exit 2 ;;
esac

uid=$(id -u)
if [ "$1" = demo ] && [ "$uid" != 0 ]; then
  say 'The demo makes network namespaces, which only root may do: run "sudo npm start".'
  exit 1
fi

absent=$(missing)
[ -z "$absent" ] && exit 0
if [ "$uid" = 0 ] && command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1; then
  install_missing && exit 0
fi
say "missing system tools:$absent"
if command -v apt-get >/dev/null 2>&1; then
  say "install them with: sudo apt-get install --no-install-recommends$absent"
else
  say "install the packages of these names, or what your distribution calls them, and run this again"
fi
exit 1
