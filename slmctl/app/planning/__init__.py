"""What a plan is made of and what becomes of it: builds, hardware, launch flags, and what loads taught."""
