# echo.env: the environment, as a JSON object.
function quoted(text,    out, i, c) {
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "\\" || c == "\"") c = "\\" c
        else if (c < " ") c = "\\u001a"
        out = out c
    }
    return "\"" out "\""
}
BEGIN {
    for (name in ENVIRON) {
        printf "%s%s:%s", (n++ ? "," : "{"), quoted(name), quoted(ENVIRON[name])
    }
    print "}"
    exit
}
