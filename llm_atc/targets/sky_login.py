"""Makes `ssh NAME` lead to a cluster's machine, as SkyPilot's own commands do."""

from __future__ import annotations

from pathlib import Path

from llm_atc.errors import CloudError
from llm_atc.targets.sky_client import sky_quiet

# Their machines are reached through SkyPilot's API server, which only its own commands arrange.
_THROUGH_API_SERVER = ("Kubernetes", "Slurm")


def login_words(name: str) -> tuple[str, ...]:
    """What `ssh` has to be told before NAME; the machine's address and login are those of this moment.

    They are written into the user's SSH configuration too, so that `ssh NAME` works by itself.

    Raises CloudError when the machine is not up, or is reached in another way than by SSH alone.
    """
    with sky_quiet() as sky:
        from sky.utils.cluster_utils import SSHConfigHelper

        records = sky.get(sky.status([name], all_users=True, _include_credentials=True))
        handle = records[0].handle if records else None
        if handle is None or not handle.cached_external_ips or not records[0].credentials:
            raise CloudError(f"The machine of {name} has no address now.", hint=f"llm-atc status {name}")
        if str(handle.launched_resources.cloud) in _THROUGH_API_SERVER:
            raise CloudError(
                f"{name} is on {handle.launched_resources.cloud}, whose machines have no SSH of their own.",
                hint=f"sky status {name} && ssh -N -L 8000:127.0.0.1:8000 {name}",
            )
        SSHConfigHelper.add_cluster(
            handle.cluster_name,
            handle.cluster_name_on_cloud,
            handle.cached_external_ips,
            records[0].credentials,
            handle.cached_external_ssh_ports,
            handle.docker_user,
            handle.ssh_user,
        )
        key = SSHConfigHelper.generate_local_key_file(name, records[0].credentials)
        # Named in full: `ssh` does not look for ~ in HOME.
        config = Path(SSHConfigHelper.ssh_cluster_path.format(name)).expanduser()
        return ("-F", str(config), "-i", str(Path(key).expanduser()))
