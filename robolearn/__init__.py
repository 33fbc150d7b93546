"""Robot learning from demonstration: record people, train and distil policies, deploy them behind one safety gate."""

__version__ = "0.1.0"
