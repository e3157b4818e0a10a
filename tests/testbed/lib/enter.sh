# Running programs in a testbed, or in its network; copying into it.
# shellcheck shell=bash disable=SC2154

inner_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# enter CMD…: in its namespaces, but in the caller's cgroup. For short questions to systemd only.
enter() {
  nsenter --target "$init_pid" --all --root --wd \
    env -i PATH="$inner_path" HOME=/root LANG=C.UTF-8 TERM="${TERM-dumb}" "$@"
}

command_exec() {
  [[ ${1-} != -- ]] || shift
  (($#)) || die_usage "exec: which command?"
  machine_init
  exec_in_unit "$@"
}

# A transient unit gives the command a cgroup, an environment and a journal entry like any service.
exec_in_unit() {
  local unit=testbed-exec-$$-$RANDOM status=0 streams=(--pipe)
  [[ ! -t 0 || ! -t 1 ]] || streams=(--pty --background=)
  # If the caller is told to end, the unit ends too.
  trap 'enter systemctl --no-block stop "$unit" 2>/dev/null' TERM INT HUP
  enter systemd-run --quiet --wait --collect "${streams[@]}" --unit="$unit" --working-directory=/root \
    --setenv=HOME=/root --setenv=LANG=C.UTF-8 --setenv=PATH="$inner_path" --setenv=TERM="${TERM-dumb}" \
    --property=KillMode=mixed --description="testbed exec" --expand-environment=no -- /usr/bin/env -- "$@" <&0 &
  wait $! || status=$?
  return "$status"
}

command_netns() {
  [[ ${1-} != -- ]] || shift
  (($#)) || die_usage "netns: which command?"
  [[ -e $state_dir/net ]] || die_off "there is no \`$name\`"
  exec nsenter --net="$state_dir/net" -- "$@"
}

command_cp() {
  [[ $# == 2 && -e $1 && $2 == /* ]] || die_usage "cp: an existing SRC and an absolute DST"
  machine_init
  copy_in "$1" "$2"
}

# Paths are resolved inside, so links there cannot lead outside.
copy_in() {
  local source=$1 target=$2
  source=$(readlink -e -- "$source")
  # shellcheck disable=SC2016
  tar -C "${source%/*}/" --owner=root:0 --group=root:0 -cf - -- "${source##*/}" |
    enter sh -euc 'tmp=$(mktemp -d /var/tmp/testbed-cp-XXXXXX); trap "rm -rf $tmp" EXIT
      tar -C "$tmp" -xf -; cp -a -- "$tmp/$1" "$2"' sh "${source##*/}" "$target"
}

install_deb() {
  local file=/var/tmp/${1##*/} log=$state_dir/install.log
  copy_in "$1" "$file"
  exec_in_unit env DEBIAN_FRONTEND=noninteractive apt-get install -y "$file" </dev/null >"$log" 2>&1 || {
    cat "$log" >&2
    die "cannot install $1"
  }
  enter rm -f "$file"
}
