"""Trained autoencoders applied to files: pictures and recordings restored, detectors of anomalies kept and used."""
