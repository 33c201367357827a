import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.JsonRuleCompiler;
import software.amazon.event.ruler.Machine;

/**
 * Matches events against patterns with AWS's own library, event-ruler.
 *
 * Each line of the input is an object with two strings, "pattern" and "event". Each line of the output
 * is the result for one of them: "match", "no_match", "invalid: …" if the pattern is rejected, or
 * "error: …" if the library fails on the event.
 */
public class EventRuler {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader input =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            JsonNode request = json.readTree(line);
            output.println(match(request.get("pattern").asText(), request.get("event").asText()));
        }
        output.flush();
    }

    private static String match(String pattern, String event) {
        String invalid = JsonRuleCompiler.check(pattern);
        if (invalid != null) {
            return "invalid: " + firstLine(invalid);
        }
        Machine machine = Machine.builder().build();
        try {
            machine.addRule("rule", pattern);
        } catch (Exception error) {
            // A rule with too many fields passes the check and is rejected here.
            return "invalid: " + firstLine(error.toString());
        }
        try {
            return machine.rulesForJSONEvent(event).isEmpty() ? "no_match" : "match";
        } catch (Exception error) {
            return "error: " + firstLine(error.toString());
        }
    }

    private static String firstLine(String message) {
        return message.lines().findFirst().orElse("");
    }
}
