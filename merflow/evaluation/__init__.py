"""From predictions to numbers: metrics, significance, calibration, leakage, published results."""
