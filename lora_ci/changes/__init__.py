"""What two commits differ in: git trees, DVC pointers and manifests, read without a checkout."""
