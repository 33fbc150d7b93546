"""The one gate every command passes on its way to a driver; only `SafeRobot` calls a driver's `write`.

These are software limits. They are not a safety-rated function; the controller's own safety settings and the
emergency stop stay the last line.
"""

from robolearn.safety.body import Body
from robolearn.safety.gate import GateState, SafeRobot
from robolearn.safety.limits import Limits

__all__ = ["Body", "GateState", "Limits", "SafeRobot"]
