# Builds an engine's layer over the base: ~ubuntu/.llm-atc/engines/NAME with REQUIREMENTS, complete and compiled.
#
# Variables: BASE, ROOT (where the layer goes), NAME, VERSION, REQUIREMENTS (words), UV_CACHE, FIND_LINKS.
# Runs as root in a mount namespace of its own.

mounts="$ROOT.mounts"
mkdir -p "$ROOT" "$mounts"
mount -t tmpfs tmpfs "$mounts"
mkdir -p "$mounts/merged" "$ROOT.work"
merged="$mounts/merged"
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$ROOT,workdir=$ROOT.work" "$merged"
mount -t tmpfs tmpfs "$merged/mnt"
mount -t tmpfs tmpfs "$merged/tmp"
mount -t proc proc "$merged/proc"
mount --bind /dev "$merged/dev"
mkdir "$merged/mnt/uv-cache"
mount --bind "$UV_CACHE" "$merged/mnt/uv-cache"
links=()
for link in $FIND_LINKS; do
  if [ -d "$link" ]; then
    place="/mnt/links-${#links[@]}"
    mkdir "$merged$place"
    mount --bind "$link" "$merged$place"
    link=$place
  fi
  links+=("--find-links=$link")
done
# The registry's builds of these are for CUDA and break the CPU build; Triton is a gigabyte that a CPU never uses.
for package in torchvision torchaudio torchcodec triton; do
  echo "$package ; sys_platform == 'never'"
done > "$merged/tmp/overrides.txt"

chroot "$merged" env HOME=/home/ubuntu UV_CACHE_DIR=/mnt/uv-cache UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never \
  SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
  NAME="$NAME" VERSION="$VERSION" REQUIREMENTS="$REQUIREMENTS" bash -euo pipefail -s -- "${links[@]}" <<'INSIDE'
environment=/home/ubuntu/.llm-atc/engines/$NAME
mkdir -p "$environment"
uv venv -q --python /usr/bin/python3 "$environment"
uv pip install -q --compile-bytecode --python "$environment/bin/python" --overrides /tmp/overrides.txt "$@" $REQUIREMENTS
# vLLM chooses its CPU platform by the version of the distribution named vllm.
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$packages/vllm-$VERSION+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$VERSION" > "$packages/vllm-$VERSION+cpu.dist-info/METADATA"
echo "$VERSION" > "$environment/.complete"
chown -R ubuntu: /home/ubuntu/.llm-atc
INSIDE
umount -R "$mounts"
rm -rf "$ROOT.work"
rmdir "$mounts"
