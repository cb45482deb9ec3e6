"""Class names that figures, tables and pages must show literally."""

NAMES = [
    *(r"$\frac$", "a$b$c", "$", r"a\$b", "<script>alert(1)</script>", "a & b", "100 %", "_hidden_", "\\\\"),
    *("line\nbreak", "carriage\rreturn", "\x1b[31mred", "=1+1", "@SUM(A1)", 'say "a, b"', "a|b", "[10pt]", "{brace"),
    *("\u202egnp.exe", "long " * 400, "NA", "{{ 7 * 7 }}"),
]
