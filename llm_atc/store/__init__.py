"""What is remembered on this machine: deployments, secrets, and the templates that tasks are made from."""
