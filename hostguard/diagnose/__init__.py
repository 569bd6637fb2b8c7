"""What is wrong with a host that its policy's applications meet: one look, then rules that each know one fault."""
