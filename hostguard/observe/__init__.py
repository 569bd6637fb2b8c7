"""The attempts of a host past its policy: as text for people, and as entries of the policy that would allow them."""
