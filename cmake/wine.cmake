# SPDX-License-Identifier: BSL-1.0
# Begins and ends what Wine's programs share; WINEPREFIX tells where it is.
if(STEP STREQUAL "begin")
    # Nobody needs the parts of a browser or of .NET.
    set(ENV{WINEDLLOVERRIDES} "mscoree,mshtml=")
    file(MAKE_DIRECTORY "$ENV{WINEPREFIX}")
    # First the server, so that it is the one that stays when the last program has gone. Output goes to files: what stays would
    # hold a pipe open, and whoever reads that would wait. It says 2 if one runs already.
    execute_process(COMMAND "${WINESERVER}" --persistent RESULT_VARIABLE result OUTPUT_FILE wineserver.log ERROR_FILE wineserver.log)
    if(NOT result MATCHES "^[02]$")
        message(FATAL_ERROR "wineserver --persistent: ${result} (wineserver.log)")
    endif()
    execute_process(COMMAND "${WINE}" wineboot --init RESULT_VARIABLE result OUTPUT_FILE wine.log ERROR_FILE wine.log)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "wineboot --init: ${result} (wine.log)")
    endif()
else()
    execute_process(COMMAND "${WINESERVER}" --kill RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "wineserver --kill: ${result}")
    endif()
endif()
