# Test images without a registry: `podman import` of a tar, once, into the base or the testbed.
# shellcheck shell=bash disable=SC2154

busybox_image=localhost/ploinky-busybox:1
scratch_image=localhost/ploinky-scratch:1
# Larger images, each a Debian with these packages; made and imported when they are asked for.
declare -A image_packages=([node]=nodejs [python]=python3)

# images_import_small TREE: puts the two small images into the storage of an unpacked root, so that
# every testbed has them from the start.
images_import_small() {
  local tree=$1 work
  work=$(mktemp -d "$tree/var/tmp/images-XXXXXX")
  image_tree_scratch "$work/scratch"
  image_tree_scratch "$work/busybox"
  image_tree_busybox "$work/busybox" "$tree/bin/busybox"
  image_import "$tree" "$work/scratch" "$scratch_image"
  image_import "$tree" "$work/busybox" "$busybox_image"
  rm -rf "$work"
}

# No program at all, and so no shell.
image_tree_scratch() {
  mkdir -p "$1/tmp" "$1/etc"
  chmod 1777 "$1/tmp"
}

image_tree_busybox() {
  local tree=$1 busybox=$2 applet
  mkdir "$tree/bin"
  install -m 755 "$busybox" "$tree/bin/busybox"
  for applet in $("$busybox" --list); do
    [[ -e $tree/bin/$applet ]] || ln -s busybox "$tree/bin/$applet"
  done
  printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$tree/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
}

# image_import TREE DIR IMAGE: no systemd runs in TREE yet, so this is Podman in a chroot.
image_import() {
  # shellcheck disable=SC2016
  tar -C "$2" --owner=0 --group=0 -c . |
    unshare --mount --pid --fork --propagation private sh -euc '
      mount --bind "$1" "$1"; mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/run"
      mount --bind /dev "$1/dev"
      export PODMAN_IGNORE_CGROUPSV1_WARNING=1
      exec chroot "$1" podman --cgroup-manager=cgroupfs --events-backend=none import --quiet - "$2"
    ' sh "$1" "$3" >/dev/null
}

# image_tar KIND: where the cache holds the tar of an image.
image_tar() { echo "$cache_dir/$1-$(key_of "$suite" "${image_packages[$1]}").tar"; }

# images_ready [--KIND…]: the cache holds what `images` needs.
images_ready() {
  local option kind tar fd
  for option; do
    kind=${option#--}
    [[ $option == --* && -n ${image_packages[$kind]-} ]] || die_usage "images: unknown argument \`$option\`"
    tar=$(image_tar "$kind")
    [[ ! -e $tar ]] || continue
    exec {fd}>"$cache_dir/.lock"
    flock -w 900 "$fd" || die "another run has been filling $cache_dir for 15 minutes"
    [[ -e $tar ]] || step "build ${tar##*/}" tar_build "$tar" "${image_packages[$kind]}"
    exec {fd}>&-
  done
}

command_images() {
  images_ready "$@"
  machine_init
  local image kind
  for image in "$busybox_image" "$scratch_image"; do
    image_present "$image" || die "\`$name\` has lost $image"
  done
  for kind in "${@#--}"; do
    image=localhost/ploinky-$kind:1
    image_present "$image" || step "import $image" image_import_tar "$(image_tar "$kind")" "$image"
  done
  exec_in_unit podman images --noheading --format '{{.Repository}}:{{.Tag}} {{.Size}}' </dev/null
}

image_present() { exec_in_unit podman image exists "$1" </dev/null; }

image_import_tar() { exec_in_unit podman import --quiet - "$2" <"$1" >/dev/null; }
