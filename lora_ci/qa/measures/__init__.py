"""The tests, one file each: evidence → reading. The door is `table.MEASURES`."""
