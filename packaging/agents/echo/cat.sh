# echo.request: the whole request, as every handler finds it on its standard input.
exec cat
