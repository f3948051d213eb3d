"""Plug-ins of SkyPilot's API server (``~/.sky/plugins.yaml``) that join it to the simulated region.

For AWS nothing is needed. GCP's machines come from the region too, through SkyPilot's own hook for
provisioners; SkyPilot's GCP class, optimizer, templates and failover stay as they are.
"""

from __future__ import annotations

from sky.server import plugins

from . import gcp_provisioner


class SimulatedGcp(plugins.BasePlugin):  # type: ignore[misc,unused-ignore]  # no types there
    """Provisions GCP's machines in the region, and answers the few questions that go to Google before."""

    def __init__(self, endpoint: str, region: str, control: str) -> None:
        self._provisioner = gcp_provisioner.Provisioner(endpoint=endpoint, region=region, control=control)

    @property
    def name(self) -> str:
        """How SkyPilot's log names it."""
        return "simulated-gcp"

    def install(self, extension_context: plugins.ExtensionContext) -> None:
        """Called once in each of the server's processes."""
        from sky import authentication, provision
        from sky.clouds import gcp

        provision.register_provisioner("gcp", self._provisioner)
        project = "simulated-project"
        cloud = gcp.GCP
        cloud._check_credentials = classmethod(lambda cls, apis, permissions: (True, None))
        cloud.get_user_identities = classmethod(
            lambda cls: [[f"tester@example.com [project_id={project}]", project]]
        )
        cloud.get_project_id = classmethod(lambda cls, dryrun=False: project)
        cloud.get_credential_file_mounts = lambda self: {}
        cloud.get_image_size = classmethod(lambda cls, image, region: 20.0)
        authentication.setup_gcp_authentication = authentication.configure_ssh_info


class Connected(plugins.BasePlugin):  # type: ignore[misc,unused-ignore]  # no types there
    """Answers SkyPilot's question whether there is a network: it asks the region, not the internet."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    @property
    def name(self) -> str:
        """How SkyPilot's log names it."""
        return "connected"

    def install(self, extension_context: plugins.ExtensionContext) -> None:
        """Called once in each of the server's processes."""
        from sky.backends import backend_utils

        backend_utils._TEST_IP_LIST = [self._endpoint]


class Unhurried(plugins.BasePlugin):  # type: ignore[misc,unused-ignore]  # no types there
    """Has SkyPilot look at every machine by itself each ten minutes, where each look takes a simulated one
    eight seconds of processor time that the tests' machine does not have to spare every minute."""

    SECONDS_BETWEEN_LOOKS = 600

    @property
    def name(self) -> str:
        """How SkyPilot's log names it."""
        return "unhurried"

    def install(self, extension_context: plugins.ExtensionContext) -> None:
        """Called once in each of the server's processes."""
        from sky.server import constants

        constants.CLUSTER_REFRESH_DAEMON_INTERVAL_SECONDS = self.SECONDS_BETWEEN_LOOKS
