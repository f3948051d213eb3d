"""AWS's interface (EC2, IAM, STS, S3), by moto, with hooks that put real machines behind its instances."""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.cloud import catalog
from tests.cloud.control import Control
from tests.cloud.instance import InstanceFacts, Role
from tests.cloud.metadata import Keys

ACCESS_KEY, SECRET_KEY = "AKIASIMULATEDREGION0", "simulated"
ROLE = "skypilot-v1"  # where it is missing, SkyPilot makes it and waits half a minute
EC2_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
PLENTY = 4096.0  # vCPUs
WIDEST_PORT_RANGE = 256  # each open port costs a listening socket
SHOWN_PORTS_OF_ALL = frozenset({22})

Log = Callable[[str], None]


class MotoRegion:
    """A running moto server whose instances can be looked at as facts. One in a process: moto is global."""

    def __init__(
        self, directory: Path, control: Path, addresses: Iterator[str], changed: Callable[[], None], log: Log
    ):
        self._control = control
        self._changed = changed
        self._log = log
        self._starts: dict[str, int] = defaultdict(int)
        self._principals: dict[str, str] = {}  # access key of a machine: role/instance
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request would bury the log
        _register_images(directory)
        self._hook(addresses)
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._furnish()

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A boto3 client of the simulated account."""
        import boto3

        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def instances(self) -> list[InstanceFacts]:
        """Every instance of every region, terminated ones too as long as moto remembers them."""
        return [self._facts(each) for each in self._all()]

    def _all(self) -> Iterator[Any]:
        from moto.ec2.models import ec2_backends

        backends = itertools.chain.from_iterable(
            list(account.values()) for account in list(ec2_backends.values())
        )
        return (each for backend in backends for each in list(backend.all_instances()))

    def assume_role(self, role: Role, instance_id: str, duration: timedelta) -> Keys:
        """Keys of a role from the region's own STS, remembered as this instance's."""
        answer = self.client("sts").assume_role(
            RoleArn=role.arn, RoleSessionName=instance_id, DurationSeconds=int(duration.total_seconds())
        )["Credentials"]
        self._principals[answer["AccessKeyId"]] = f"{role.name}/{instance_id}"
        return Keys(
            access_key=answer["AccessKeyId"],
            secret_key=answer["SecretAccessKey"],
            token=answer["SessionToken"],
        )

    def powered_off(self, instance_id: str) -> None:
        """An instance's own system powered it off: it is stopped, or ended where it was launched so.

        A one-time spot instance cannot be stopped: it is ended.
        """
        self._log(f"{instance_id} powered itself off")
        (instance,) = (each for each in self._all() if each.id == instance_id)
        ends = instance.instance_initiated_shutdown_behavior == "terminate" or instance.lifecycle == "spot"
        (instance.terminate if ends else instance.stop)()

    def stop(self) -> None:
        """Stop answering."""
        self._server.stop()

    def _hook(self, addresses: Iterator[str]) -> None:
        from moto.ec2.models import elastic_network_interfaces, instances
        from moto.servicequotas.models import ServiceQuotasBackend

        ServiceQuotasBackend.get_service_quota = self._quota
        elastic_network_interfaces.random_public_ip = lambda: next(addresses)
        region = self
        run_instances = instances.InstanceBackend.run_instances

        def run_where_there_is_capacity(backend: Any, *args: Any, **options: Any) -> Any:
            region._refuse_without_capacity(backend, options)
            reservation = run_instances(backend, *args, **options)
            for instance in reservation.instances:
                # EC2 reports the groups of the primary interface as the instance's own
                instance.security_groups = instance.security_groups or list(instance.nics[0].group_set)
                region._log(f"run {instance.id} {instance.instance_type}")
            region._changed()
            return reservation

        instances.InstanceBackend.run_instances = run_where_there_is_capacity
        for verb in ("start", "stop", "terminate", "reboot"):
            setattr(instances.Instance, verb, self._noticed(verb, getattr(instances.Instance, verb)))

    def _quota(self, service_code: str, quota_code: str) -> dict[str, Any]:
        """What the account may run, in vCPUs: plenty, but for what a test took away."""
        allowed = dict(Control.read(self._control).quotas).get(quota_code, PLENTY)
        return {"ServiceCode": service_code, "QuotaCode": quota_code, "Value": allowed}

    def _noticed(self, verb: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(instance: Any, *args: Any, **options: Any) -> Any:
            result = original(instance, *args, **options)
            self._starts[instance.id] += verb in ("start", "reboot")
            self._log(f"{verb} {instance.id} by {self._caller()}")
            self._changed()
            return result

        return call

    def _refuse_without_capacity(self, backend: Any, options: dict[str, Any]) -> None:
        from moto.ec2.exceptions import EC2ClientError

        interfaces = options.get("nics") or []
        subnets = [options.get("subnet_id"), *(each.get("SubnetId") for each in interfaces)]
        subnet = next(filter(None, subnets), None)
        zone = backend.get_subnet(subnet).availability_zone if subnet else ""
        kind = options.get("instance_type", "")
        if {backend.region_name, zone, kind} & set(Control.read(self._control).no_capacity):
            self._log(f"no capacity for {kind} in {zone}")
            raise EC2ClientError(
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient {kind} capacity in the Availability Zone you "
                f"requested ({zone}).",
            )

    def _caller(self) -> str:
        """Who signed the request being answered: a machine by role and instance, else the access key."""
        import flask

        header = flask.request.headers.get("Authorization", "") if flask.has_request_context() else ""
        signed = re.search(r"Credential=([^/]+)", header)
        return self._principals.get(signed[1], signed[1]) if signed else "the region itself"

    def _facts(self, instance: Any) -> InstanceFacts:
        return InstanceFacts(
            id=instance.id,
            state=instance.state,
            starts=self._starts[instance.id],
            instance_type=instance.instance_type,
            image_id=instance.image_id,
            account_id=instance.ec2_backend.account_id,
            region=instance.ec2_backend.region_name,
            zone=instance.placement.zone or "",
            private_ip=instance.private_ip or "",
            public_ip=instance.public_ip,
            spot=instance.lifecycle == "spot",
            user_data=_text(instance.user_data),
            open_ports=_open_ports(instance),
            role=_role(instance),
            imds_v2_only=instance.metadata_options.http_tokens == "required",
        )

    def _furnish(self) -> None:
        """What a real account has: a role for SkyPilot's machines, and a way out of the default networks."""
        iam = self.client("iam")
        iam.create_instance_profile(InstanceProfileName=ROLE)
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(EC2_TRUST))
        iam.add_role_to_instance_profile(InstanceProfileName=ROLE, RoleName=ROLE)
        for region in (*catalog.AWS_ZONES, catalog.GCP_BACKING_REGION):
            ec2 = self.client("ec2", region)
            network = ec2.describe_vpcs(Filters=[{"Name": "isDefault", "Values": ["true"]}])["Vpcs"][0][
                "VpcId"
            ]
            gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
            ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=network)
            tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [network]}])[
                "RouteTables"
            ]
            for table in tables:
                ec2.create_route(
                    RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
                )


def _register_images(directory: Path) -> None:
    """Make moto know the catalogue's machine images; it reads them when it is first imported."""
    import os

    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    images = [
        {
            "ami_id": image,
            "name": tag.replace(":", "-"),
            "description": tag,
            "owner_id": "195275664570",
            "architecture": "x86_64",
            "virtualization_type": "hvm",
            "image_type": "machine",
            "hypervisor": "xen",
            "public": True,
            "root_device_type": "ebs",
            "root_device_name": "/dev/sda1",
            "state": "available",
            "platform": None,
            "image_location": f"amazon/{tag}",
        }
        for tag, image in catalog.aws_images()
    ]
    path = directory / "amis.json"
    path.write_text(json.dumps(images))
    os.environ["MOTO_AMIS_PATH"] = str(path)


def _text(user_data: Any) -> str:
    if user_data is None:
        return ""
    return user_data.decode() if hasattr(user_data, "decode") else str(user_data)


def _role(instance: Any) -> Role | None:
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    if association is None:
        return None
    profile = association.iam_instance_profile
    for role in profile.roles:
        return Role(name=role.name, arn=role.arn, profile_arn=profile.arn, profile_id=profile.id)
    return None


def _open_ports(instance: Any) -> frozenset[int]:
    groups = {group.id: group for group in instance.security_groups}
    for interface in instance.nics.values():
        groups |= {group.id: group for group in interface.group_set}
    rules = itertools.chain.from_iterable(list(group.ingress_rules) for group in groups.values())
    return frozenset(itertools.chain.from_iterable(_ports(rule) for rule in rules))


def _ports(rule: Any) -> Iterable[int]:
    """The TCP ports that a rule opens to addresses outside; rules between groups open none."""
    if not (rule.ip_range.get("CidrIp") or rule.ip_range.get("CidrIpv6")):
        return ()
    if str(rule.ip_protocol) == "-1":
        return SHOWN_PORTS_OF_ALL
    if str(rule.ip_protocol) not in ("tcp", "6"):
        return ()
    first, last = int(rule.from_port), int(rule.to_port)
    return range(first, last + 1) if last - first <= WIDEST_PORT_RANGE else SHOWN_PORTS_OF_ALL
