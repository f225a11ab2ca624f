"""Rolling upgrades of a service's nodes behind a balancer: plan, journal, runner, gates."""
