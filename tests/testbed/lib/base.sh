# The read-only base all testbeds share: prerequisites, root tar, unpacked tree.
# shellcheck shell=bash disable=SC2154

suite=trixie
packages=systemd,systemd-sysv,dbus,polkitd,podman,crun,netavark,aardvark-dns,passt,nftables
packages+=,iproute2,procps,curl,jq,ca-certificates,catatonit,uidmap,conmon
packages+=,golang-github-containers-common,git,socat,strace,busybox-static

prerequisites() {
  local missing=() pair
  for pair in mmdebstrap:mmdebstrap nsenter:util-linux flock:util-linux perl:perl-base ip:iproute2 \
    socat:socat wrk:wrk jq:jq curl:curl; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  ((${#missing[@]} == 0)) || step "install ${missing[*]}" prerequisites_install "${missing[@]}"
}

prerequisites_install() {
  mkdir -p "$cache_dir"
  (
    export DEBIAN_FRONTEND=noninteractive
    flock -w 600 9 || die "another run has been installing packages for 10 minutes"
    apt-get -q update && apt-get -q install -y --no-install-recommends "$@"
  ) 9>"$cache_dir/.lock" >"$cache_dir/prerequisites.log" 2>&1 ||
    die "cannot install $*: see $cache_dir/prerequisites.log"
}

key_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# Sets base_dir, and builds what of it is missing.
base_ready() {
  root_tar=$cache_dir/root-$(key_of "$suite" "$packages").tar
  base_dir=$cache_dir/base-$(key_of "$root_tar" "$(cat "$here/lib/base.sh" "$here/lib/images.sh")")
  [[ ! -d $base_dir ]] || return 0
  mkdir -p "$cache_dir/roots"
  local fd
  exec {fd}>"$cache_dir/.lock"
  flock -w 900 "$fd" || die "another run has been filling $cache_dir for 15 minutes"
  [[ -e $root_tar ]] || step "build ${root_tar##*/}" tar_build "$root_tar" "$packages"
  [[ -d $base_dir ]] || step "unpack ${base_dir##*/}" base_unpack
  exec {fd}>&-
}

# tar_build FILE PACKAGES: an interrupted build leaves nothing with the final name.
tar_build() {
  local tmp=${1%.tar}.tmp.tar
  mmdebstrap --quiet --variant=minbase --include="$2" "$suite" "$tmp" 2>"${1%.tar}.log" ||
    die "cannot build a root: see ${1%.tar}.log"
  mv "$tmp" "$1"
}

base_unpack() {
  local tmp=$base_dir.tmp
  rm -rf "$tmp"
  mkdir -p "$tmp"
  tar -C "$tmp" --numeric-owner --xattrs --xattrs-include='*' -xf "$root_tar"
  base_adapt "$tmp"
  images_import_small "$tmp"
  touch "$tmp"
  mv "$tmp" "$base_dir"
  bases_prune
}

# Removes bases that were replaced more than a day ago and lie under no root.
bases_prune() {
  local dir
  while IFS= read -r dir; do
    [[ $dir == "$base_dir" ]] || grep -qsxF "$dir" "$cache_dir"/roots/*/base || rm -rf "$dir"
  done < <(find "$cache_dir" -maxdepth 1 -name 'base-*' -mtime +0)
}

# What differs from a plain Debian 13 host; each line has its reason.
base_adapt() {
  local tree=$1 unit
  # There is no console, no module to load, and nothing to mount from fstab.
  for unit in systemd-modules-load.service console-getty.service getty@tty1.service; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
  done
  # Nothing wakes up by itself in the middle of a measurement.
  for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
  done
  : >"$tree/etc/fstab"
  printf 'LANG=C.UTF-8\n' >"$tree/etc/default/locale"
  # The journal outlives a reboot, as on a host that a person set up.
  mkdir -p "$tree/var/log/journal"
  # Testbeds are thrown away: a package install need not wait for the disk.
  printf 'force-unsafe-io\n' >"$tree/etc/dpkg/dpkg.cfg.d/testbed"
}
