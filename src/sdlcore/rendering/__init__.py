"""Tables, figures and the report: everything that is made from files of runs and looked at by people."""
