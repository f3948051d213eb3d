"""What can go wrong for a user, as one tree.

    AtcError                      exit code 1
    ├── UsageError                exit code 2: what was typed cannot be read
    ├── ConfigError               what a configuration file says cannot be read
    │   ├── VariableError         what an environment variable says cannot be read
    │   └── ConfigConflict        each can be read, and all layers together make no sense
    ├── ModelError                the model itself
    │   ├── ModelNotSaid          nobody said which model
    │   ├── ModelNotFound         no such repository, directory or object
    │   ├── ModelGated            it exists, and this token may not read it
    │   └── ModelUnservable       it exists, and no engine here can run it
    ├── SourceError               a bucket: absent, forbidden or empty
    ├── OfferError                no machine like that is sold there
    ├── CloudError                the cloud account or SkyPilot
    │   ├── CloudNotReady         not enabled, no credentials
    │   ├── ApiServerUnreachable  SkyPilot's API server does not answer
    │   └── ProvisionFailed       the machine could not be had
    ├── DeploymentError           something that llm-atc launched
    │   ├── DeploymentNotFound    no deployment of that name
    │   ├── DeploymentBusy        another command is working on it
    │   ├── NotReady              it did not answer in time
    │   └── EngineFailed          the engine ended before it answered
    ├── EngineError               an engine on this machine: install, port, executable
    │   └── EngineAbsent          no engine of that name is installed
    ├── BatchError                a batch of requests: its input, its output, or lines that failed
    ├── EndpointError             an endpoint that was asked refused, failed or broke off
    ├── ToolError                 the tools of a chat: their configuration
    ├── SecretMissing             a secret has a name and no value
    ├── Declined                  the user said no
    └── Interrupted               exit code 130: Ctrl-C

An error says what happened and names the thing; its hint is a command that can be pasted.
"""

from __future__ import annotations


class AtcError(Exception):
    """Something a user can understand and mend: `message` says what, `hint` is the command that helps.

    `stage` names how far the command had come, where that helps to find the cause; `left` says what runs on
    after it, and what that costs.
    """

    exit_code = 1
    stage = ""
    left: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class UsageError(AtcError):
    """What was typed cannot be read: a flag's syntax, or flags that contradict each other."""

    exit_code = 2


class ConfigError(AtcError):
    """What a configuration file says cannot be read; the message names file, line and column."""

    stage = "configuration file"


class VariableError(ConfigError):
    """What an environment variable says cannot be read; the message names it."""

    stage = "environment"


class ConfigConflict(ConfigError):
    """Every layer can be read, and what they make together cannot be served."""

    stage = "merged validation"


class ModelError(AtcError):
    """The model cannot be served as asked."""


class ModelNotSaid(ModelError):
    """Neither the command line nor any configuration says which model."""

    stage = "missing model"


class ModelNotFound(ModelError):
    """No repository, directory or object of that name."""

    stage = "missing model"


class ModelGated(ModelError):
    """The model exists, and this token may not read it."""


class ModelUnservable(ModelError):
    """The model was found, and holds nothing that an engine can load."""


class SourceError(AtcError):
    """A bucket cannot be used: absent, forbidden, empty, or out of reach."""


class OfferError(AtcError):
    """No machine like that is sold there."""


class CloudError(AtcError):
    """The cloud account, or SkyPilot, refused."""


class CloudNotReady(CloudError):
    """The cloud is not enabled, or its credentials are missing."""


class ApiServerUnreachable(CloudError):
    """SkyPilot's API server does not answer."""


class ProvisionFailed(CloudError):
    """The machine could not be had."""


class DeploymentError(AtcError):
    """Something that llm-atc launched is not as the command needs it."""


class DeploymentNotFound(DeploymentError):
    """No deployment of that name."""


class DeploymentBusy(DeploymentError):
    """Another command is working on this deployment."""


class NotReady(DeploymentError):
    """The endpoint did not answer in time."""

    stage = "start-up"


class EngineFailed(DeploymentError):
    """The engine ended before it answered."""

    stage = "start-up"


class EngineError(AtcError):
    """An engine cannot be installed or started on this machine."""

    stage = "start-up"


class EngineAbsent(EngineError):
    """No engine of that name is installed on this machine."""

    stage = ""


class BatchError(AtcError):
    """A batch of requests cannot be read, written or asked, or some of it failed."""


class EndpointError(AtcError):
    """An endpoint that was asked refused, failed, or broke off in its answer."""


class ToolError(AtcError):
    """The tools of a chat cannot be had: their configuration cannot be read."""


class SecretMissing(AtcError):
    """A secret that the deployment needs has no value here."""


class Declined(AtcError):
    """The user was asked, and said no."""


class Interrupted(AtcError):
    """Ctrl-C."""

    exit_code = 130
