"""What requests cost in numbers that do not depend on how fast the machine is."""
