"""A simulated person at a table, whose true points are known: for cameras, detectors and everything behind them."""
