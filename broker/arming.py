"""What has to hold before real money is traded, under its older name."""

from broker.bybit.preflight import against_modes, arm, key_checks

__all__ = ("against_modes", "arm", "key_checks")
