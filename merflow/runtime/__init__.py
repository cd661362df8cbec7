"""What surrounds every job: its log and messages, the code hash, devices, and the lines on the terminal."""
