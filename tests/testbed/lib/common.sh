# Words shared by all parts: places, messages, time, locks.
# shellcheck shell=bash disable=SC2034,SC2154

cache_dir=${PLOINKY_TESTBED_CACHE:-/var/cache/ploinky-testbed}
run_dir=/run/ploinky-testbed

# Every wait of this tool ends after this many seconds at the latest.
boot_limit=${PLOINKY_TESTBED_BOOT_LIMIT:-120}
stop_limit=${PLOINKY_TESTBED_STOP_LIMIT:-60}
kill_limit=20

places() {
  state_dir=$run_dir/$name
  root_dir=$cache_dir/roots/$name
  cgroup_name=ploinky-testbed-$name
}

say() { printf 'testbed: %s\n' "$*"; }

die() {
  printf 'testbed: error: %s\n' "$*" >&2
  exit 1
}

# The testbed that a command needs is not there: 69, as an exit status of its own.
die_off() {
  printf 'testbed: error: %s\n' "$*" >&2
  exit 69
}

die_usage() {
  printf 'testbed: error: %s\n' "$*" >&2
  exit 64
}

need_root() { ((EUID == 0)) || die "namespaces and mounts need root"; }

# seconds_since START: how long ago $EPOCHREALTIME was START, as `1.2`.
seconds_since() {
  local micros=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
  printf '%d.%d\n' $((micros / 1000000)) $((micros / 100000 % 10))
}

# step TEXT COMMAND…: runs COMMAND, then says how long it took.
step() {
  local text=$1 began=$EPOCHREALTIME
  shift
  "$@"
  say "$text … $(seconds_since "$began") s"
}

# locked COMMAND…: one change of one testbed at a time.
locked() {
  mkdir -p "$run_dir"
  local fd
  exec {fd}>"$run_dir/.$name.lock"
  flock -w "$boot_limit" "$fd" || die "another command holds \`$name\`"
  change_lock_fd=$fd
  "$@"
}
