import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.JsonRuleCompiler;
import software.amazon.event.ruler.Machine;

/**
 * Asks AWS's own library which events match which patterns.
 *
 * Every line of the input is an object with two texts, "pattern" and "event". Every line of the
 * output answers one of them: "match", "no_match", "invalid: …" if the pattern is refused, or
 * "error: …" if the library fails on the event.
 */
public class EventRuler {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader input =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            JsonNode asked = json.readTree(line);
            output.println(answer(asked.get("pattern").asText(), asked.get("event").asText()));
        }
        output.flush();
    }

    private static String answer(String pattern, String event) {
        String invalid = JsonRuleCompiler.check(pattern);
        if (invalid != null) {
            return "invalid: " + firstLine(invalid);
        }
        Machine machine = Machine.builder().build();
        try {
            machine.addRule("rule", pattern);
        } catch (Exception error) {
            // A rule with too many fields passes the check and is refused here.
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
