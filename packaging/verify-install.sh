#!/bin/sh
# Checks an installed Ploinky: users, modes, executables, units. Changes nothing. Needs root.
# Runs in a clean root after the install and on any host; installed as /usr/lib/ploinky/verify-install.
set -u

failed=0

# check WHAT COMMAND…: prints one line, and what the command said if it failed.
check() {
  what=$1
  shift
  if said=$("$@" 2>&1 </dev/null); then
    printf 'ok      %s\n' "$what"
  else
    printf 'FAILED  %s\n' "$what"
    [ -z "$said" ] || printf '%s\n' "$said" | sed 's/^/        /'
    failed=$((failed + 1))
  fi
}

# owner_and_mode PATH WANTED: WANTED as `root:ploinky 751`.
owner_and_mode() {
  found=$(stat --format='%U:%G %a' -- "$1") || return
  [ "$found" = "$2" ] || { printf 'is %s\n' "$found"; return 1; }
}

# A dynamic executable could not start under NoExecPaths=, nor in an image without libraries.
is_static() { ldd "$1" 2>&1 | grep -qE 'statically linked|not a dynamic executable'; }

no_login() {
  shell=$(getent passwd ploinky | cut -d: -f7)
  case $shell in */nologin | */false) ;; *) printf 'has the shell %s\n' "$shell"; return 1 ;; esac
}

# says_nothing COMMAND…: systemd-analyze verify tells of mistakes and still succeeds.
says_nothing() {
  words=$("$@" 2>&1) || { printf '%s\n' "$words"; return 1; }
  [ -z "$words" ] || { printf '%s\n' "$words"; return 1; }
}

unit=/usr/lib/systemd/system

if command -v dpkg >/dev/null && dpkg-query --show ploinky >/dev/null 2>&1; then
  check 'files are as the package brought them' dpkg --verify ploinky
fi

check 'user ploinky' getent passwd ploinky
check 'user ploinky cannot log in' no_login
for line in '/var/lib/ploinky root:ploinky 751' '/var/lib/ploinky/agents root:root 711' \
  '/run/ploinky root:ploinky 750' '/run/ploinky/inst ploinky:ploinky 750' \
  '/run/ploinky/sync root:root 711' '/run/ploinky/lane root:root 711' '/var/lib/ploinky/callbacks ploinky:ploinky 750' \
  '/var/lib/ploinky/activeUsers ploinky:ploinky 750' '/var/lib/ploinky/activeUsers/used ploinky:ploinky 750' \
  '/var/lib/ploinky/adminSessions root:ploinky 750' '/var/lib/ploinky/tokens root:ploinky 750' \
  '/etc/containers/systemd/ploinky root:root 755' '/usr/lib/ploinky/agentcore root:root 755' \
  '/usr/lib/ploinky/agentcore/run.sh root:root 755'; do
  check "$line" owner_and_mode "${line%% *}" "${line#* }"
done

for program in /usr/lib/ploinky/ploinkyd /usr/lib/ploinky/ploinky-supervisor /usr/lib/ploinky/ploinky-callback \
  /usr/bin/ploinkyctl \
  /usr/lib/systemd/system-generators/ploinky-generator /usr/lib/ploinky/agentcore/agent-core \
  /usr/share/ploinky/agents/security/ploinky-security; do
  check "$program is static" is_static "$program"
done
check 'ploinkyctl --help' ploinkyctl --help
check 'ploinkyctl --version' ploinkyctl --version
check 'ploinkyctl config check' ploinkyctl config check

check 'units' says_nothing systemd-analyze verify --man=no --recursive-errors=no \
  ploinky@1.service ploinky@1.socket ploinky-admin@1.socket ploinky-supervisor.service ploinky.target \
  ploinky-agents.slice run-ploinky-sync.mount ploinky-callback.path ploinky-callback.service
# Tenths: 0.5 and 1.5.
check 'protection of the worker' systemd-analyze security --offline=true --threshold=5 --no-pager "$unit/ploinky@.service"
check 'protection of the supervisor' systemd-analyze security --offline=true --threshold=15 --no-pager "$unit/ploinky-supervisor.service"
check 'protection of the callbacks' systemd-analyze security --offline=true --threshold=15 --no-pager "$unit/ploinky-callback.service"

if [ -d /run/systemd/system ]; then
  check 'the bus can start the supervisor' sh -c "busctl --no-pager list --activatable | grep -q '^io.ploinky.Supervisor1 '"
  check 'polkit action io.ploinky.inspect' pkaction --action-id io.ploinky.inspect
  check 'polkit action io.ploinky.manage' pkaction --action-id io.ploinky.manage
fi
if systemctl --quiet is-active ploinky.target 2>/dev/null; then
  check 'memory for calls' findmnt --types tmpfs /run/ploinky/sync
  check '/var/lib/ploinky/task.key' owner_and_mode /var/lib/ploinky/task.key 'root:ploinky 640'
  for socket in /run/ploinky/admin-*.sock; do
    check "$socket" owner_and_mode "$socket" 'root:root 600'
  done
fi

if [ "$failed" -gt 0 ]; then
  printf '%d checks failed\n' "$failed"
  exit 1
fi
printf 'all checks passed\n'
