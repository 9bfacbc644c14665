# SPDX-License-Identifier: Apache-2.0
# fish completion of nvidia-ctk: it answers itself what may stand at the cursor.
function __nvidia_ctk_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct | string collect --allow-empty)
    set -l head (string match -r '^--[^=]*=' -- $current)
    set -l lines ($words[1] __complete $words[2..-1] $current 2>/dev/null)
    switch "$lines[1]"
        case :files
            for path in (__fish_complete_path (string replace -r '^--[^=]*=' '' -- $current | string collect --allow-empty))
                echo "$head$path"
            end
        case :folders
            for path in (__fish_complete_directories (string replace -r '^--[^=]*=' '' -- $current | string collect --allow-empty))
                echo "$head$path"
            end
        case '*'
            printf '%s\n' $lines
    end
end
complete -c nvidia-ctk -f -a '(__nvidia_ctk_complete)'
