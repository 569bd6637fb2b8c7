"""What a host tried to reach past its policy: as a person reads it, and as the policy that would let it."""
