"""The medium changer: slots, picks, import/export and drives, over a folder of tape images."""
