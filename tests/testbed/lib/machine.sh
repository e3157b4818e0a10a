# One testbed: its root, its network namespace, boot and stop.
# shellcheck shell=bash disable=SC2154

# The root is an overlay over the base where the kernel allows it, else a copy. /var is real in
# both cases: Podman's storage and fsync, O_TMPFILE, flock behave there as on a disk.
root_make() {
  local tmp=$root_dir.tmp
  rm -rf "$tmp"
  mkdir -p "$tmp/root" "$tmp/upper/etc" "$tmp/work"
  printf '%s\n' "$base_dir" >"$tmp/base"
  cp -a "$base_dir/var" "$tmp/var"
  if [[ ${PLOINKY_TESTBED_ROOT-overlay} == overlay ]] && overlay_works "$tmp"; then
    root_identity "$tmp/upper/etc"
  else
    say "the root is a copy, not an overlay"
    rm -rf "${tmp:?}"/{upper,work,var}
    cp -a "$base_dir/." "$tmp/root"
    root_identity "$tmp/root/etc"
  fi
  mv "$tmp" "$root_dir"
}

overlay_works() { unshare --mount "$here/lib/stage" --try-root "$1" 2>/dev/null; }

# A machine id of its own, so that this is not a first boot, which would preset every unit.
root_identity() {
  tr -d - </proc/sys/kernel/random/uuid >"$1/machine-id"
  printf 'testbed-%s\n' "$name" >"$1/hostname"
  printf '127.0.0.1 localhost testbed-%s\n::1 localhost\n' "$name" >"$1/hosts"
  rm -f "$1/resolv.conf"
  : >"$1/resolv.conf"
}

# The namespace is held by a mount, so that what runs in it survives a reboot of the testbed.
net_make() {
  mkdir -p "$state_dir"
  net_remove
  printf '%s\n' "$1" >"$root_dir/net"
  : >"$state_dir/net"
  if [[ $1 == own ]]; then
    unshare --net="$state_dir/net" ip link set lo up
  else
    mount --bind /proc/self/ns/net "$state_dir/net"
  fi
}

net_remove() {
  if mountpoint -q "$state_dir/net"; then umount "$state_dir/net"; fi
  rm -f "$state_dir/net"
}

# The launcher holds the lock `alive` from before the boot until the whole process tree is gone:
# waiting for the end is waiting for the lock, and no recycled pid can be mistaken for ours.
machine_alive() { [[ -e $state_dir/alive ]] && ! flock --shared -n "$state_dir/alive" true; }
machine_wait_end() { flock --shared -w "$1" "$state_dir/alive" true; }

machine_word() { if machine_alive; then echo running; else echo off; fi; }

# Sets init_pid, after the check that it is still the process that was recorded.
machine_init() {
  local started=
  machine_alive || die_off "\`$name\` is not running"
  [[ -e $state_dir/init ]] || machine_record
  read -r init_pid started <"$state_dir/init"
  [[ $(start_time "$init_pid") == "$started" ]] || die "process $init_pid is not the init of \`$name\`"
}

start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  local fields
  read -ra fields <<<"${stat##*) }"
  printf '%s\n' "${fields[19]}"
}

machine_boot() {
  [[ -d $root_dir ]] || die "there is no \`$name\`; use up"
  # Only a restart of the machine itself takes the network away while the root stays.
  mountpoint -q "$state_dir/net" || step "network namespace" net_make "$(<"$root_dir/net")"
  ! machine_alive || die "\`$name\` is running already"
  step "boot" machine_start
}

# Init tells through its notify socket that all start jobs are done.
machine_start() {
  local ready word
  rm -f "$state_dir/init" "$state_dir/pid"
  exec {alive}>"$state_dir/alive"
  flock -w 5 "$alive" || die "\`$name\` is running already"
  exec {ready}< <(
    exec setsid "$here/lib/launch" "$state_dir/notify" "$boot_limit" "$alive" \
      "$here/lib/stage" "$name" "$root_dir" "$state_dir" "$cgroup_name" \
      </dev/null 2>"$state_dir/console.log"
  )
  exec {alive}>&-
  read -r -u "$ready" word || word="without an answer"
  exec {ready}<&-
  [[ $word == ready ]] || boot_failed "$word"
  machine_record
  machine_init
  word=$(enter timeout "$boot_limit" systemctl is-system-running --wait) || {
    enter systemctl --no-pager --failed >&2
    say "the system is \`$word\`, not \`running\`"
  }
}

boot_failed() {
  tail -n 20 "$state_dir/console.log" >&2
  if [[ $1 == late ]]; then
    machine_record
    die "\`$name\` has not booted within $boot_limit s; look with exec and log, end it with down"
  fi
  die "\`$name\` did not boot ($1)"
}

# The start time as the machine sees it; the testbed has a clock of its own.
machine_record() {
  local pid
  # An interrupted `up` may have left a boot that is only just beginning.
  read -r pid < <(timeout 10 tail -F -n 1 "$state_dir/pid" 2>/dev/null) ||
    die_off "\`$name\` has not begun to boot yet"
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$state_dir/init"
}

machine_stop() {
  machine_alive || return 0
  step "stop" machine_shut_down
}

# SIGRTMIN+4 asks systemd for a power-off.
machine_shut_down() {
  machine_init
  kill -s RTMIN+4 "$init_pid"
  machine_wait_end "$stop_limit" || {
    say "no clean stop within $stop_limit s"
    machine_cut
  }
  cgroup_remove
}

machine_kill() {
  machine_alive || die "\`$name\` is not running"
  step "kill" machine_cut
}

machine_cut() {
  machine_init
  kill -s KILL "$init_pid"
  machine_wait_end "$kill_limit" || die "\`$name\` is still there $kill_limit s after SIGKILL"
  cgroup_remove
}

machine_reboot() {
  machine_stop
  machine_boot
}

machine_remove() {
  net_remove
  cgroup_remove
  rm -rf "$state_dir" "$root_dir" "$root_dir.tmp"
}

cgroup_remove() { unshare --mount --propagation private "$here/lib/stage" --remove-cgroup "$cgroup_name"; }

machine_list() {
  local entry
  printf '%-20s %-8s %s\n' NAME STATE INIT
  for entry in "$cache_dir"/roots/*; do
    [[ -e $entry/base && $entry != *.tmp ]] || continue
    name=${entry##*/}
    places
    printf '%-20s %-8s %s\n' "$name" "$(machine_word)" "$(cut -d' ' -f1 "$state_dir/init" 2>/dev/null)"
  done
}
