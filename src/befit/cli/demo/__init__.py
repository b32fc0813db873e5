"""The main job: a script that users can read and copy, with its data."""
