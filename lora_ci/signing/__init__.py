"""Who vouches for which bytes: keys, OpenSSF Model Signing signatures, trust files."""
