"""What a program costs: gas, multiply-accumulates, memory."""
