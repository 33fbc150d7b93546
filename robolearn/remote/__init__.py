"""A model on another computer than the robot: WebSocket and msgpack, no pickle, no torch on the robot's side."""
