# A machine's first process: builds its root from the image, boots it, and becomes the image's own init.
#
# Variables: ROOT (mount point), DISK (its own, kept over stop and start), LAYERS (overlayfs lowerdir), NAME,
# IP, METADATA_IP, SSH_ENVIRONMENT (what sshd gives each session). Runs in namespaces of its own; says "booted" on stdout.
set -eu
mount --make-rprivate /
mkdir -p "$DISK/upper" "$DISK/work" "$ROOT"
mount -t overlay overlay -o "lowerdir=$LAYERS,upperdir=$DISK/upper,workdir=$DISK/work" "$ROOT"
cd "$ROOT"

mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty fuse; do
  if [ -e "/dev/$device" ]; then
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
  fi
done
mkdir -p dev/pts dev/shm
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t sysfs -o ro sysfs sys || true

hostname "$NAME"
ip link set lo up
ip address add "$IP/32" dev lo
ip address add "$METADATA_IP/32" dev lo
printf '127.0.0.1 localhost\n%s %s\n' "$IP" "$NAME" > etc/hosts
echo "$NAME" > etc/hostname
printf '%s\n' $SSH_ENVIRONMENT > etc/environment # for what is started by no SSH session
: > etc/resolv.conf

mkdir -p .old
pivot_root . .old
cd /
mount -t proc proc /proc
umount -l /.old
rmdir /.old || true

mkdir -p /run/sshd
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
if [ -e /var/lib/first-boot.sh ]; then
  /bin/bash -x /var/lib/first-boot.sh > /var/log/cloud-init.log 2>&1 || echo "first boot failed" >&2
  rm -f /var/lib/first-boot.sh
fi
/usr/sbin/sshd -E /var/log/sshd.log -o "SetEnv=$SSH_ENVIRONMENT"
echo booted
exec > /dev/null
exec /sbin/init
