"""The command line, one file a verb. A verb's file is imported when the verb is used."""
