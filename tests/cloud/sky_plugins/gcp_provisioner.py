"""GCP's provisioning functions, as SkyPilot calls them, on machines of the simulated region."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from sky.provision import common
from sky.utils import resources_utils, status_lib

CLUSTER = "gcp-cluster"
TYPE = "gcp-machine-type"
ZONE = "gcp-zone"
ALIVE = ("pending", "running", "stopping", "stopped")
STATUS = {
    "pending": status_lib.ClusterStatus.INIT,
    "running": status_lib.ClusterStatus.UP,
    "stopping": status_lib.ClusterStatus.STOPPED,
    "stopped": status_lib.ClusterStatus.STOPPED,
}
# GCP's images have the runtime in the home of the user that SkyPilot's key is for.
USER_DATA = """#cloud-config
runcmd:
  - usermod --login {user} --home /home/{user} ubuntu
  - ln -s /home/ubuntu /home/{user}
  - echo '{user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-{user}
  - mkdir -p /home/ubuntu/.ssh
  - echo '{key}' > /home/ubuntu/.ssh/authorized_keys
  - chown -R {user} /home/ubuntu/.ssh
  - chmod -R go= /home/ubuntu/.ssh
"""


class Provisioner:
    """Stands where SkyPilot expects the module ``sky.provision.gcp``; same names, same arguments."""

    def __init__(self, *, endpoint: str, region: str, control: str) -> None:
        self._endpoint = endpoint
        self._region = region
        self._control = Path(control)

    def bootstrap_instances(self, region: str, cluster_name: str, config: common.ProvisionConfig) -> Any:
        """Nothing to prepare."""
        return config

    def run_instances(
        self, region: str, cluster_name: str, cluster_name_on_cloud: str, config: common.ProvisionConfig
    ) -> common.ProvisionRecord:
        """Start what is stopped and create what is missing."""
        zone = config.provider_config["availability_zone"]
        existing = self._list(cluster_name_on_cloud)
        stopped = [each["InstanceId"] for each in existing if each["State"]["Name"] == "stopped"]
        if stopped:
            self._ec2().start_instances(InstanceIds=stopped)
        created: list[str] = []
        if (missing := config.count - len(existing)) > 0:
            created = self._create(cluster_name_on_cloud, config.node_config, region, zone, missing)
        everything = sorted([*(each["InstanceId"] for each in existing), *created])
        return common.ProvisionRecord(
            provider_name="gcp",
            region=region,
            zone=zone,
            cluster_name=cluster_name_on_cloud,
            head_instance_id=everything[0],
            resumed_instance_ids=stopped,
            created_instance_ids=created,
        )

    def wait_instances(self, region: str, cluster_name_on_cloud: str, state: Any) -> None:
        """Nothing to wait for: machines boot faster than SkyPilot asks."""

    def query_instances(
        self,
        cluster_name: str,
        cluster_name_on_cloud: str,
        provider_config: Any = None,
        non_terminated_only: bool = True,
        retry_if_missing: bool = False,
    ) -> dict[str, tuple[status_lib.ClusterStatus, None]]:
        """The state of each machine that exists."""
        machines = self._list(cluster_name_on_cloud)
        return {each["InstanceId"]: (STATUS[each["State"]["Name"]], None) for each in machines}

    def get_cluster_info(
        self, region: str, cluster_name_on_cloud: str, provider_config: Any = None
    ) -> common.ClusterInfo:
        """Addresses of the machines that run."""
        machines = self._list(cluster_name_on_cloud, ("pending", "running"))
        info = {
            each["InstanceId"]: [
                common.InstanceInfo(
                    each["InstanceId"], each["PrivateIpAddress"], each.get("PublicIpAddress"), {}
                )
            ]
            for each in machines
        }
        head = machines[0]["InstanceId"] if machines else None
        return common.ClusterInfo(
            instances=info, head_instance_id=head, provider_name="gcp", provider_config=provider_config
        )

    def stop_instances(
        self, cluster_name_on_cloud: str, provider_config: Any = None, worker_only: bool = False
    ) -> None:
        """Stop all machines of the cluster."""
        self._ec2().stop_instances(
            InstanceIds=[each["InstanceId"] for each in self._list(cluster_name_on_cloud)]
        )

    def terminate_instances(
        self, cluster_name_on_cloud: str, provider_config: Any = None, worker_only: bool = False
    ) -> None:
        """Terminate all machines of the cluster; quiet when there is none."""
        if machines := [each["InstanceId"] for each in self._list(cluster_name_on_cloud)]:
            self._ec2().terminate_instances(InstanceIds=machines)

    def open_ports(self, cluster_name_on_cloud: str, ports: list[str], provider_config: Any = None) -> None:
        """Open the ports that are not open yet, as a firewall rule does."""
        named = [{"Name": "group-name", "Values": [_group(cluster_name_on_cloud)]}]
        group = self._ec2().describe_security_groups(Filters=named)["SecurityGroups"][0]
        already = {rule.get("FromPort") for rule in group["IpPermissions"]}
        for port in resources_utils.port_ranges_to_set(ports) - already:
            self._open(group["GroupId"], port)

    def cleanup_ports(
        self, cluster_name_on_cloud: str, ports: list[str], provider_config: Any = None
    ) -> None:
        """Remove the cluster's firewall rules; quiet when they are gone, or machines still use them."""
        ec2 = self._ec2()
        try:
            ec2.delete_security_group(GroupName=_group(cluster_name_on_cloud))
        except ec2.exceptions.ClientError:
            return

    def _create(self, cluster: str, node: dict[str, Any], region: str, zone: str, count: int) -> list[str]:
        machine_type = str(node.get("machineType", "")).rpartition("/")[2]
        self._refuse_without_capacity(region, zone, machine_type)
        user, _, key = _ssh_key(node["metadata"]).partition(":")
        ec2 = self._ec2()
        group = ec2.create_security_group(
            GroupName=_group(cluster), Description="firewall rules of a GCP cluster"
        )
        self._open(group["GroupId"], 22)
        tags = {CLUSTER: cluster, TYPE: machine_type, ZONE: zone}
        reservation = ec2.run_instances(
            ImageId=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            InstanceType="m6i.large",
            MinCount=count,
            MaxCount=count,
            UserData=USER_DATA.format(user=user, key=key.strip()),
            SecurityGroupIds=[group["GroupId"]],
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": name, "Value": value} for name, value in tags.items()],
                }
            ],
        )
        return [each["InstanceId"] for each in reservation["Instances"]]

    def _refuse_without_capacity(self, region: str, zone: str, machine_type: str) -> None:
        if not self._control.exists():
            return
        if {region, zone, machine_type} & set(json.loads(self._control.read_text())["no_capacity"]):
            error = common.ProvisionerError(f"no capacity for {machine_type} in {zone}")
            error.errors = [
                {
                    "code": "ZONE_RESOURCE_POOL_EXHAUSTED",
                    "domain": "run_instances",
                    "message": f"The zone '{zone}' does not have enough resources to fulfill the request.",
                }
            ]
            raise error

    def _open(self, group: str, port: int) -> None:
        self._ec2().authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp="0.0.0.0/0"
        )

    def _list(self, cluster: str, states: Sequence[str] = ALIVE) -> list[dict[str, Any]]:
        filters = [
            {"Name": f"tag:{CLUSTER}", "Values": [cluster]},
            {"Name": "instance-state-name", "Values": list(states)},
        ]
        reservations = self._ec2().describe_instances(Filters=filters)["Reservations"]
        machines = [machine for reservation in reservations for machine in reservation["Instances"]]
        return sorted(machines, key=lambda machine: machine["InstanceId"])

    def _ec2(self) -> Any:
        return boto3.client(
            "ec2",
            region_name=self._region,
            endpoint_url=self._endpoint,
            aws_access_key_id="AKIASIMULATEDREGION0",
            aws_secret_access_key="simulated",
        )


def _group(cluster: str) -> str:
    return f"gcp-{cluster}"


def _ssh_key(metadata: dict[str, Any]) -> str:
    """``user:key`` of the machine's metadata, which SkyPilot writes in one of two shapes."""
    for item in metadata.get("items", []):
        if item["key"] == "ssh-keys":
            return str(item["value"]).strip()
    return str(metadata["ssh-keys"]).strip()
