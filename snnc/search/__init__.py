"""Choosing the scale factor: the deterministic grid on calibration data, studies on validation."""
