"""Makes the emoji world: a tiny Stable Diffusion, a tiny CLIP and the example pictures."""
