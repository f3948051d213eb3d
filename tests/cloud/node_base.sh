# Builds the base layer: Debian with sshd and SkyPilot's runtime, as SkyPilot's own cloud images have it.
#
# Variables: ROOT (where), SUITE, MIRROR, PACKAGES, WHEELS (holds <hash>/skypilot-*.whl), UV (the binary),
# GSUTIL (what to install), UV_CACHE, DEBS_CACHE. Runs as root in a mount namespace of its own.

mkdir -p "$ROOT"
debootstrap --variant=minbase --cache-dir="$DEBS_CACHE" --include="$PACKAGES" "$SUITE" "$ROOT" ${MIRROR:+"$MIRROR"} >&2

install -m755 "$UV" "$ROOT/usr/local/bin/uv"
cp /etc/resolv.conf /etc/hosts "$ROOT/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$ROOT/opt/wheels" "$ROOT/mnt/uv-cache"
cp "$WHEELS"/*/skypilot-*.whl "$ROOT/opt/wheels/"
basename "$(dirname "$WHEELS"/*/skypilot-*.whl)" > "$ROOT/opt/wheels/hash"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mount --bind "$UV_CACHE" "$ROOT/mnt/uv-cache"

chroot "$ROOT" env GSUTIL="$GSUTIL" HOME=/home/ubuntu UV_CACHE_DIR=/mnt/uv-cache UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 \
  UV_PYTHON_DOWNLOADS=never SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt bash -euo pipefail <<'INSIDE'
useradd --create-home --shell /bin/bash ubuntu
usermod --password '*' ubuntu # sshd refuses a locked account, even with a key
mkdir -p /run/sshd /etc/systemd
rm -f /etc/ssh/ssh_host_*
printf 'UseDNS no\nPasswordAuthentication no\nUsePAM no\nPrintMotd no\nMaxStartups 100\n' > /etc/ssh/sshd_config.d/10-node.conf
touch /etc/systemd/system.conf
# What init keeps running, and how a machine powers off and reboots: in its own namespaces these two end it.
printf '%s\n' id:2:initdefault: cron:2:respawn:'/usr/sbin/cron -f' off:0:wait:'/sbin/halt -d -f -p' \
  again:6:wait:'/sbin/reboot -d -f' > /etc/inittab
printf '#!/bin/sh\n# No systemd runs here.\nexit 0\n' > /usr/bin/systemctl
chmod 755 /usr/bin/systemctl

uv venv -q --python /usr/bin/python3 /opt/gsutil
uv pip install -q --python /opt/gsutil/bin/python "$GSUTIL"
ln -s /opt/gsutil/bin/gsutil /usr/local/bin/gsutil
printf '#!/bin/sh\n# SkyPilot installs the Google Cloud SDK where this fails.\nexit 0\n' > /usr/local/bin/gcloud
chmod 755 /usr/local/bin/gcloud

cd /home/ubuntu
mkdir -p .local/bin .sky/wheels
cp /usr/local/bin/uv .local/bin/uv
uv venv -q --seed --python /usr/bin/python3 skypilot-runtime
wheel=$(echo /opt/wheels/skypilot-*.whl)
# The same pins as SkyPilot's set-up commands on a fresh machine; every cloud's extra that tests use.
uv pip install -q --python skypilot-runtime/bin/python 'ray[default]==2.9.3' 'setuptools<70' 'click<8.3.0' \
  'pydantic-core==2.41.1' "${wheel}[aws,gcp,remote]"
mv /opt/wheels/hash .sky/wheels/current_sky_wheel_hash # with it, SkyPilot finds itself installed
echo /home/ubuntu/skypilot-runtime/bin/python > .sky/python_path
echo /home/ubuntu/skypilot-runtime/bin/ray > .sky/ray_path
uv venv -q --seed --relocatable --system-site-packages --python /usr/bin/python3 sky-user-env
chown -R ubuntu: /home/ubuntu
rm -rf /opt/wheels /tmp/* /var/lib/apt/lists/*
python3 -m compileall -q /usr/lib/python3 || true
INSIDE

umount "$ROOT/mnt/uv-cache" "$ROOT/dev" "$ROOT/proc"
rmdir "$ROOT/mnt/uv-cache"
